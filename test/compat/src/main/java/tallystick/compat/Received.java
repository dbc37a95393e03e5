package tallystick.compat;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** A listener that keeps every delivery, repeats included, and confirms all of them. */
final class Received implements MessageListenerConcurrently {
    final List<MessageExt> all = new CopyOnWriteArrayList<>();

    @Override
    public ConsumeConcurrentlyStatus consumeMessage(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        all.addAll(messages);
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    Set<String> bodies() {
        return all.stream().map(Received::text).collect(Collectors.toSet());
    }

    long count(String body) {
        return all.stream().filter(message -> text(message).equals(body)).count();
    }

    static String text(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
